"""Robots that speak VDA 5050 over MQTT; see README.md."""
