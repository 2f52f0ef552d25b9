#!/usr/bin/python3
"""Writes digests.txt: length n and SHA-256 of the n bytes (131 i + 7) mod 256, by Python's hashlib. Written with Python 3.11."""
import hashlib

lengths = [*range(0, 3), *range(53, 67), *range(117, 131), 183, 184, 1000, 4096, 100003]
with open("digests.txt", "w") as out:
    for n in lengths:
        message = bytes((131 * i + 7) % 256 for i in range(n))
        out.write(f"{n} {hashlib.sha256(message).hexdigest()}\n")
