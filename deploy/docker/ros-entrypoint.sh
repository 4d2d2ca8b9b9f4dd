#!/bin/bash
# Runs a command with ROS 2, our interfaces and the virtual environment. `exec` lets the node get the signals itself: on
# SIGTERM it stops the robot before it exits.
set -eo pipefail
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /opt/si-embodied/interfaces/local_setup.bash
export PATH="/opt/si-embodied/venv/bin:$PATH"
exec "$@"
