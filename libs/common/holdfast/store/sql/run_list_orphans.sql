-- Active child runs whose parent has ended (or is deleted), and whose cancel was not asked for yet. $1 at most
SELECT tenant_id, id FROM runs c
WHERE c.parent_run_id IS NOT NULL AND c.status IN ('queued', 'running', 'waiting', 'interrupted') AND c.cancel_requested_at IS NULL
  AND NOT EXISTS (SELECT FROM runs p WHERE p.id = c.parent_run_id AND p.status IN ('queued', 'running', 'waiting', 'interrupted'))
LIMIT $1
