# The environment of the robot's nodes: your ROS and your workspace. Sourced by the units, and by you for `si-embodied ros check`.
source /opt/ros/jazzy/setup.bash
source /opt/si-embodied/install/local_setup.bash
