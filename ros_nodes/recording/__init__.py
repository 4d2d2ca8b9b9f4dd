"""Recordings: writing bags, records of decisions, reading and replaying them. Runs without rclpy."""
