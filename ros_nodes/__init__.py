"""ROS 2: the nodes, and the message bridge between ROS and the core. Nothing outside this package imports rclpy."""
