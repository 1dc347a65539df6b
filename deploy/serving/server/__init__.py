"""The server: Paddle Serving's pipeline behind an HTTP front of ours, many processes under one supervisor.

    supervisor      binds the port, starts workers, restarts what dies, passes SIGTERM on
      worker        one process: the front and the pipeline, on the same port as all others
        front       HTTP: limits, health, metrics, page (asyncio)
        rpc         gRPC: the pipeline's own service
        pipeline    Paddle Serving's DAG: preprocessing, auto-batching, network, post-processing

Paddle Serving's own HTTP gateway is left out: it listens on every address of the machine, forwards bodies of
256 MB, has no limits, no health and no request ids.

Runs in the isolated environment of `deploy/serving/requirements.txt`. `settings`, `asks`, `folders`, `board`,
`records` and `gate` need only what `ppghost` needs, and no Paddle Serving.
"""
