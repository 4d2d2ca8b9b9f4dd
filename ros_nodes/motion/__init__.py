"""What moves the robot: navigation, arm and camera tilt clients. Nothing here plans."""
