# A simulated robot with its planner and watchdog, on ROS 2 from PyPI and a software renderer.
#   docker build -f deploy/docker/sim.Dockerfile -t si-embodied-sim .
ARG BASE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/si-embodied
ENV PATH=/opt/si-embodied/bin:$PATH
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[sim,ros,models,remote]" \
    && python interfaces/build.py

FROM ${BASE} AS sim
ENV PYTHONUNBUFFERED=1 PATH=/opt/si-embodied/bin:$PATH ROS_HOME=/var/lib/si-embodied AMENT_PREFIX_PATH=/opt/si-embodied
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libosmesa6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/si-embodied si-embodied
COPY --from=build /opt/si-embodied /opt/si-embodied
USER 10001
WORKDIR /var/lib/si-embodied
# Its nodes have no health endpoint; `ros up` ends, with an exit code, when one of them does.
HEALTHCHECK NONE
ENTRYPOINT ["si-embodied", "ros", "up"]
CMD ["--sim", "apartment"]
