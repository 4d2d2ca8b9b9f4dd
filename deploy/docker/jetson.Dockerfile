# The planning server on a Jetson: an exported model on ONNX Runtime, without torch.
#   docker build -f deploy/docker/jetson.Dockerfile -t si-embodied-server:jetson .        (on the Jetson)
# The defaults are for JetPack 6 (L4T 36, Python 3.10, CUDA 12.6): L4T_TAG must fit the board's own release. ONNX Runtime
# comes from NVIDIA's index for that release, because the wheels on PyPI have no code for a Jetson's GPU.
ARG L4T_TAG=r36.4.0

FROM nvcr.io/nvidia/l4t-jetpack:${L4T_TAG} AS base
ENV PYTHONUNBUFFERED=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/si-embodied --groups video si-embodied \
    && python3 -m venv /opt/si-embodied
ENV PATH=/opt/si-embodied/bin:$PATH
COPY constraints.txt /opt/si-embodied/

FROM base AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM base AS jetson
ARG ONNXRUNTIME=1.23.0
ARG ONNXRUNTIME_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
# On aarch64 the extra onnx-gpu installs everything but ONNX Runtime. The last line ends the build if that is the wrong
# one: a build without CUDA would run the model on the CPU.
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/*.whl \
    && pip install --no-cache-dir -c /opt/si-embodied/constraints.txt "$1[serve,onnx-gpu]" \
    && pip install --no-cache-dir --no-deps --index-url "$ONNXRUNTIME_INDEX" "onnxruntime-gpu==$ONNXRUNTIME" \
    && pip install --no-cache-dir -c /opt/si-embodied/constraints.txt flatbuffers protobuf coloredlogs sympy \
    && python -c "import onnxruntime as o, sys; p = o.get_available_providers(); sys.exit('CUDAExecutionProvider' not in p and f'no CUDA in this onnxruntime: {p}')"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /var/lib/si-embodied
EXPOSE 8421
HEALTHCHECK --interval=10s --timeout=3s --start-period=900s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8421/healthz', timeout=2)"]
ENTRYPOINT ["si-embodied", "serve", "--host", "0.0.0.0", "--device", "cuda"]
