#!/usr/bin/python3
"""Writes exact_means.txt: weighted means in exact rational arithmetic, rounded once to nearest, ties to even.

A line: type (f or d), bits of the mean, then weight and bits of each addend, all in hexadecimal.
Written with Python 3.11.
"""
import random
import struct
from fractions import Fraction

FORMATS = {"f": (24, 149, 32), "d": (53, 1074, 64)}  # precision, -exponent of the smallest positive number, bits


def value(kind, bits):
    precision, unit, width = FORMATS[kind]
    field = (bits >> (precision - 1)) & ((1 << (width - precision)) - 1)
    mantissa = bits & ((1 << (precision - 1)) - 1)
    if field:
        mantissa |= 1 << (precision - 1)
    magnitude = Fraction(mantissa) * Fraction(2) ** (max(field, 1) - 1 - unit)
    return -magnitude if bits >> (width - 1) else magnitude


def rounded(kind, x):
    """Bits of the number nearest to the fraction x. Ranges over places instead of computing one: slow and plain."""
    precision, unit, width = FORMATS[kind]
    sign = (1 << (width - 1)) if x < 0 else 0
    x = abs(x) * Fraction(2) ** unit  # in units of the smallest positive number
    place = 0
    while x >= Fraction(2) ** (precision + place):
        place += 1
    mantissa = round(x / Fraction(2) ** place)  # Python rounds fractions to even
    if mantissa == 1 << precision:
        mantissa >>= 1
        place += 1
    if mantissa < 1 << (precision - 1):
        assert place == 0
        return sign | mantissa
    return sign | ((place + 1) << (precision - 1)) | (mantissa - (1 << (precision - 1)))


def cases(kind, rng):
    precision, _, width = FORMATS[kind]
    fields = (1 << (width - precision)) - 1  # the first one that is not finite
    one = (fields // 2) << (precision - 1)
    minus = 1 << (width - 1)
    largest = (fields << (precision - 1)) - 1
    normal = 1 << (precision - 1)  # smallest normal number

    def number(low=0, high=fields - 1):
        return rng.getrandbits(1) << (width - 1) | rng.randint(low, high) << (precision - 1) | rng.getrandbits(precision - 1)

    def weight(bits=32):
        return rng.randint(1, (1 << rng.randint(1, bits)) - 1)

    for x in [0, 1, 2, normal - 1, normal, normal + 1, one, largest, minus | 1, minus | largest]:
        yield [(weight(), x)]  # itself
        yield [(weight(), x), (weight(), x), (0xFFFFFFFF, x)]
        yield [(1, x), (1, 0)]  # half of it: subnormal ties
        yield [(1, x), (2, 0)]
    for _ in range(30):  # ties between neighbours, and a nudge to one side of them
        x = number(1, fields - 2) & ~minus
        w = weight(16)
        yield [(w, x), (w, x + 1)]
        yield [(w, minus | x), (w, minus | (x + 1))]
        yield [(w, x), (w, x + 1), (1, 1), (0, 0)]
        yield [(w, x), (w, x + 1), (1, minus | 1), (1, 0)]
        yield [(3 * w, x), (w, x + 2)]
    for _ in range(30):  # cancellation: a small rest below large numbers
        x, y, w = number(), number(), weight()
        yield [(w, x), (weight(), y), (w, x ^ minus)]
    for _ in range(10):
        w = weight()
        yield [(w, largest), (w, minus | largest), (1, minus | 1)]  # rounds to -0
        yield [(0xFFFFFFFF, largest)] * 4 + [(0xFFFFFFFF, largest - rng.getrandbits(4))]
    for _ in range(40):  # all sizes
        yield [(weight(), number()) for _ in range(rng.randint(1, 8))]
    for _ in range(40):  # about the smallest normal number
        yield [(weight(), number(0, 3)) for _ in range(rng.randint(1, 8))]
    for _ in range(60):  # what training gives
        yield [(weight(12), number(fields // 2 - 12, fields // 2)) for _ in range(rng.randint(2, 12))]


rng = random.Random(20)
with open("exact_means.txt", "w") as out:
    for kind in FORMATS:
        for case in cases(kind, rng):
            mean = sum(w * value(kind, x) for w, x in case) / Fraction(sum(w for w, _ in case))
            bits = rounded(kind, mean)
            if kind == "d" and mean != 0:
                assert struct.unpack("<Q", struct.pack("<d", float(mean)))[0] == bits or bits == 1 << 63  # Python's own rounding
            out.write(" ".join([kind, f"{bits:x}"] + [f"{w:x} {x:x}" for w, x in case]) + "\n")
