"""ROS recordings: readers, columnar decode, layout."""
