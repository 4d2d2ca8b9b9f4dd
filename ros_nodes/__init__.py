"""ROS 2 nodes, and the bridge between ROS messages and the core. Nothing outside this package imports rclpy."""
