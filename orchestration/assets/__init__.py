"""Dagster assets: lineage and catalogue over the lake."""
