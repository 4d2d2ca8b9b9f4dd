"""Recordings: writing bags, reading them back, decision records and their replay. Needs no rclpy."""
