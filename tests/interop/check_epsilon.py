"""lorasb-epsilon beside dp-accounting and Opacus: where they differ, and who is right.

    python check_epsilon.py BUILD_FOLDER

The true epsilon (contour integral, `--accountant exact`) is what every bound must not be below. Differences are printed, and are
failures only where lorasb is the one that is wrong: below the truth, or further above it than a bound needs to be.
"""
import logging
import math
import pathlib
import subprocess
import sys
import warnings

import numpy as np
from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.utils import get_noise_multiplier

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)  # orders at which the others' series does not converge
np.seterr(all="ignore")
program = pathlib.Path(sys.argv[1]) / "examples" / "lorasb-epsilon"
# q, sigma, steps, delta
points = [(0.01, 1.0, 1000, 1e-5), (0.01, 0.7, 5000, 1e-5), (0.04, 1.5, 2250, 1e-5), (0.001, 0.5, 10000, 1e-5),
          (1.0, 1.0, 1, 1e-5), (1.0, 5.0, 100, 1e-5), (0.1, 2.0, 500, 1e-6), (0.0256, 0.9, 160, 1e-4), (0.5, 8.0, 200, 1e-10),
          (1e-4, 0.6, 10000, 1e-5), (0.02, 0.4, 100, 1e-5), (0.2, 20.0, 100, 1e-6), (0.01, 0.3, 1000, 1e-10),
          (1e-4, 1.0, 1000000, 1e-5), (0.001, 20.0, 100000, 1e-10)]


def lorasb(*words):
    run = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"lorasb-epsilon {words}: {run.stderr.strip()}")
    return float(run.stdout)


def of(point, accountant, relation="add-remove"):
    q, sigma, steps, delta = point
    return lorasb("--q", q, "--sigma", sigma, "--steps", steps, "--delta", delta, "--accountant", accountant, "--relation", relation)


def dp_accounting(accountant, point):
    q, sigma, steps, delta = point
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps))
    return accountant.get_epsilon(delta)


def opacus(accountant, point):
    q, sigma, steps, delta = point
    accountant.history = [(sigma, q, steps)]
    try:
        return accountant.get_epsilon(delta=delta)
    except Exception:  # PRVAccountant gives up on some points
        return math.nan


def text(x):
    return "-" if math.isnan(x) else f"{x:.5g}"


failed = 0
print(f"  {'q, sigma, steps, delta':34} {'exact':>9} {'best':>9} {'rdp':>9} | {'dp-acc pld':>10} {'dp-acc rdp':>10} | {'opacus prv':>10} {'opacus rdp':>10}")
below = {"dp-accounting pld": 0, "opacus prv": 0}
for point in points:
    exact, best, rdp = (of(point, a) for a in ("exact", "best", "rdp"))
    others = {"dp-accounting pld": dp_accounting(PLDAccountant(), point), "dp-accounting rdp": dp_accounting(RdpAccountant(), point),
              "opacus prv": opacus(PRVAccountant(), point), "opacus rdp": opacus(RDPAccountant(), point)}
    wrong = []
    if not exact * (1 - 1e-6) - 1e-9 <= best <= exact * 1.002 + 1e-4:
        wrong.append("best is not the truth or just above")
    if not best <= rdp * (1 + 1e-9):
        wrong.append("best is above rdp")
    if rdp > min(others["dp-accounting rdp"], others["opacus rdp"]) * (1 + 1e-3):
        wrong.append("rdp is above another program's rdp: orders are missing")
    for name in below:
        if others[name] < exact * (1 - 1e-3):
            below[name] += 1
    failed += bool(wrong)
    print(f"  {str(point):34} {text(exact):>9} {text(best):>9} {text(rdp):>9} | {text(others['dp-accounting pld']):>10} "
          f"{text(others['dp-accounting rdp']):>10} | {text(others['opacus prv']):>10} {text(others['opacus rdp']):>10}"
          f"  {'FAIL ' + '; '.join(wrong) if wrong else ''}")
for name, count in below.items():
    print(f"  {name} is below the true epsilon by more than 0.1 % on {count} of {len(points)} points")

for point in points[:3]:  # replace-one is another relation, and more than twice as far
    ours = of(point, "pld", "replace-one")
    theirs = dp_accounting(PLDAccountant(NeighboringRelation.REPLACE_ONE), point)
    good = abs(ours / theirs - 1) < 2e-3
    failed += not good
    print(f"  {'ok  ' if good else 'FAIL'} replace-one at {point}: {ours:.5g}, dp-accounting {theirs:.5g}")

for epsilon, q, steps in [(1, 0.01, 1000), (3, 0.0256, 160), (8, 0.04, 2250)]:
    sigma = lorasb("--epsilon", epsilon, "--q", q, "--steps", steps, "--delta", 1e-5)
    theirs = get_noise_multiplier(target_epsilon=epsilon, target_delta=1e-5, sample_rate=q, steps=steps, accountant="rdp")
    spent = dp_accounting(PLDAccountant(value_discretization_interval=1e-5), (q, sigma, steps, 1e-5))
    good = spent <= epsilon * (1 + 2e-3) and sigma <= theirs * (1 + 1e-3)
    failed += not good
    print(f"  {'ok  ' if good else 'FAIL'} noise for epsilon {epsilon}, q {q}, {steps} steps: {sigma:.5f} (Opacus by RDP {theirs:.5f}); "
          f"dp-accounting finds epsilon {spent:.5f}")
sys.exit(failed > 0)
