"""The parts that all endpoints share: problems, middleware, clients and quotas, dependencies, health, docs."""
