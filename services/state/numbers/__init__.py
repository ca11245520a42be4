"""The numbers of the whole service, for Prometheus: exactly one of all state processes serves them at a time.

`service` puts the parts together: the `lock` says which process it is, `counting` counts the log's events, `look` asks
the broker how things stand.
"""
