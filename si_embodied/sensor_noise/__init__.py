"""What real cameras and localisation do to an observation, once for the Gymnasium wrapper, `sim_node` and training.

Pure functions and small states, which draw from a generator that is passed in. No simulator and no ROS here.
"""
