"""From messages to an `Observation`: camera models, synchronisation by stamp, transforms. `bridge` is pure."""
