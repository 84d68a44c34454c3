"""Who drives what: Prefect flows, worker and desk, Dagster assets, dispatcher, intake."""
