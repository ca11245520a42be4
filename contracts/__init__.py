"""The contracts between the processes: what may be asked for, what happened, how it is named and encoded, and kept.

Every process imports from here; nothing here imports a service, inference or ops.

- `job`, `prompt`, `plan`, `cluster`: what may be asked for, and how ranks share a job.
- `events`, `fold`, `status`: what happened to a job, and the status that it folds to.
- `subjects`, `wire`: the names and the bytes on the broker.
- `record`, `restore`: the archive of ended jobs beside the videos.
- `job_log`, `job_queue`: a job's events and its message in the queue, over the broker.
- `broker`, `stores`, `process`: NATS JetStream, files, and what every process does to start and to end.

Pure, but for `broker`, `stores`, `process` and the modules over them: `job_log`, `job_queue`, `restore`.
"""
