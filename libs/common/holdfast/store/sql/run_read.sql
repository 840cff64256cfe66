-- One run of a tenant. $1 tenant, $2 run
SELECT * FROM runs WHERE tenant_id = $1 AND id = $2
