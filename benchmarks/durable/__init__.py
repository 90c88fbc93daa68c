"""What durable runs on one machine cost: ``make bench-durable``.

`cases` says what is measured, `command` does it, `goals` judges and `report` shows it. Rates are
measured as in the benchmarks in process, contender by contender (`contender`, `worker_dbos`);
hops, several processes and large batches with worker processes on a file (`fleet`, `process`).
"""
