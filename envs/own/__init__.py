"""Worlds of a user's own: a scanned building (`scan`), or a recording as posed images (`recorded`), in one environment.

Both become a `Place`: coloured points, free floor, and a robot that moves and looks. Nothing here knows apartments.
"""
