"""What the benchmarks share. `workloads`, `flops`, `process`, `systems` and `worker` also run in the peers' venvs.

    workloads  the four fixed workloads, built from the model-written evals
    flops      the least arithmetic a workload takes, and what this machine reaches in a matrix product
    process    CPU seconds and resident memory of a process and its children
    systems    the compared systems behind one interface
    engine     this project's engine behind the same interface
    worker     one system in one process, timed
    report     medians, ratios, tables

Nothing but the standard library is imported at module level by those that peers run.
"""
