"""Decides whether the cost of a case grows too fast."""

# The largest growth, relative to the native or expected one, that counts as equal: medians of a busy machine differ as much.
TOLERANCE = 1.5
# Costs up to these differences do not count: they are below what a measurement distinguishes.
LEAST = {"ms": 5.0, "MiB": 64.0, "MB": 1.0}


def failure(found):
    """Returns why a case fails, or None. `found` has the sizes, and the costs of each side at them."""
    sizes, ours = found["sizes"], found["costs"]["h5lake"]
    least = LEAST[found["unit"]]
    if found["expected"]:
        factor = 1 if found["expected"] == "constant" else sizes[-1] / sizes[0]
        bound = ours[0] * factor * TOLERANCE
        return f"more than {found['expected']} growth" if ours[-1] > bound + least else None
    native = found["costs"]["native"]
    if ours[-1] <= native[-1] * 1.1 + least:
        return None
    # Costs below the least difference are raised to it: fixed costs of small sizes would hide growth.
    grown, grown_natively = (max(costs[-1], least) / max(costs[0], least) for costs in (ours, native))
    if grown > grown_natively * TOLERANCE:
        return f"it grows {grown:.3g} times, natively {grown_natively:.3g} times"
    return None
