-- Make a tenant when it is not there; two at once make one. $1 id
INSERT INTO tenants (id) VALUES ($1) ON CONFLICT (id) DO NOTHING RETURNING id
