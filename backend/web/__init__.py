"""What every endpoint shares: problems, middleware, clients and quotas, dependencies, health, docs."""
