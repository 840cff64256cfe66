-- Lock a thread's row: submits to one thread queue up here, so that their order is the order of their ranks.
-- No stronger than that, or the owners' writes on the thread (a message refers to it) would wait here, and one whose run this
-- submit wants to cancel for ever. $1 tenant, $2 thread
SELECT id FROM threads WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE
