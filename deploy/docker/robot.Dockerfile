# The robot side: planner node and watchdog on an installed ROS 2, with the model on another machine (backend: remote).
#   docker build -f deploy/docker/robot.Dockerfile -t si-embodied-robot:jazzy .
# For Kilted: --build-arg ROS_TAG=kilted-ros-base-noble. A model in the node itself needs the extra models or onnx-gpu too.
ARG ROS_TAG=jazzy-ros-base-noble
ARG BASE=docker.io/library/ros:${ROS_TAG}

FROM ${BASE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN source "/opt/ros/$ROS_DISTRO/setup.bash" \
    && colcon build --base-paths interfaces --install-base /opt/si-embodied/interfaces \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE} AS robot
ENV PYTHONUNBUFFERED=1 ROS_HOME=/var/lib/si-embodied
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-opencv python3-venv "ros-$ROS_DISTRO-nav2-msgs" \
    "ros-$ROS_DISTRO-control-msgs" "ros-$ROS_DISTRO-tf2-ros-py" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/si-embodied si-embodied \
    && python3 -m venv --system-site-packages /opt/si-embodied/venv
COPY --from=build /opt/si-embodied/interfaces /opt/si-embodied/interfaces
# ROS is built with NumPy 1.
RUN --mount=from=build,source=/wheels,target=/wheels \
    set -- /wheels/*.whl \
    && /opt/si-embodied/venv/bin/pip install --no-cache-dir "$1[remote]" "numpy>=1.26,<2"
COPY --chmod=755 deploy/docker/ros-entrypoint.sh /ros-entrypoint.sh
USER 10001
WORKDIR /var/lib/si-embodied
# The node has no health endpoint: the watchdog watches the planner, and `si-embodied ros check` looks at everything.
HEALTHCHECK NONE
ENTRYPOINT ["/ros-entrypoint.sh"]
CMD ["python3", "-m", "si_embodied.ros_nodes.planner_node", "--ros-args", "-p", "autostart:=true"]
