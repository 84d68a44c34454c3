"""Robots that speak ROS 2: over DDS itself, or over a rosbridge."""
