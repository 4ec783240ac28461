# Builds flexsearch and its tests on CPUs: docker build -t flexsearch . && docker run --rm flexsearch
# Never built where it was written, for want of Docker. A GPU: docker run --gpus all, with NVIDIA's container toolkit.
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git postgresql && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv && useradd --create-home flexsearch
USER flexsearch
WORKDIR /home/flexsearch/flexsearch
COPY --chown=flexsearch . .
RUN uv sync --quiet --compile-bytecode
CMD ["uv", "run", "--no-sync", "pytest"]
