# The planning server: plans for robots on the network, and answers chats. Two targets, which differ in torch's build:
#   docker build -f deploy/docker/server.Dockerfile --target cpu  -t si-embodied-server:cpu .
#   docker build -f deploy/docker/server.Dockerfile --target cuda -t si-embodied-server:cuda .
# The CUDA libraries come with torch, so both have the same small base; the driver comes from NVIDIA's container runtime.
# For a reproducible build, replace the tag by the digest that `docker buildx imagetools inspect` prints.
ARG BASE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 HF_HOME=/var/lib/si-embodied/hub
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/si-embodied si-embodied \
    && python -m venv /opt/si-embodied
ENV PATH=/opt/si-embodied/bin:$PATH
COPY constraints.txt /opt/si-embodied/

FROM base AS install-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/*.whl \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c /opt/si-embodied/constraints.txt "$1[serve,models]"

FROM base AS install-cuda
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/*.whl \
    && pip install --no-cache-dir -c /opt/si-embodied/constraints.txt "$1[serve,models,quant]"

# In a container the server listens on every address, and therefore needs a key: SI_EMBODIED_API_KEY, or a file.
FROM install-cpu AS cpu
USER 10001
WORKDIR /var/lib/si-embodied
EXPOSE 8421
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8421/healthz', timeout=2)"]
ENTRYPOINT ["si-embodied", "serve", "--host", "0.0.0.0"]

FROM install-cuda AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /var/lib/si-embodied
EXPOSE 8421
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8421/healthz', timeout=2)"]
ENTRYPOINT ["si-embodied", "serve", "--host", "0.0.0.0"]
