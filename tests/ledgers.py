"""What a comparison came to, without what a clock said: the same however often, and by how many, it is made."""

CLOCKED = {"started", "seconds", "milliseconds_per_step"}


def ledger(data):
    """A result's data without times, wherever they stand, and without the number of processes."""
    if isinstance(data, list):
        return [ledger(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {key: ledger(value) for key, value in data.items() if key not in {*CLOCKED, "jobs"}}
