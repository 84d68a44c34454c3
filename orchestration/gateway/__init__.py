"""The gateway: a process near the robots that holds their links and dials out to the platform."""
