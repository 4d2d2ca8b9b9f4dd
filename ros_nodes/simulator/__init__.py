"""The simulated worlds as robots over ROS: what `sim_node` is made of.

`apartment` and `tabletop` are the robots (no ROS in them), `imperfections` what makes them less than ideal, `mobile`
and `arm` what a real robot's drivers would publish and take.
"""
