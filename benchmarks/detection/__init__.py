"""Detection on agents, suites and wordings that the model never saw: ``python -m benchmarks.detection``.

`rows` makes what is learnt from and judged, `fits` the models that each did not see some of it, `rates` shares and
their intervals. `figures` and `ablations` measure; `tables`, `plots` and `page` show.
"""
