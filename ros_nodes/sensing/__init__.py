"""From messages to an `Observation`: camera models, synchronisation by stamp, transforms. `bridge` needs no ROS."""
