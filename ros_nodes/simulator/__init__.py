"""The parts of `sim_node`, which presents the simulated worlds as robots over ROS.

`apartment` and `tabletop` are the robots, without ROS. `imperfections` adds latency and failed sensors; noise is in
`si_embodied.sensor_noise`. `mobile` and `arm` are the ROS interface that a real robot's drivers would have.
"""
