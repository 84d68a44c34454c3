"""What heavy children do: plain functions that open their own runtime and never import Prefect."""
