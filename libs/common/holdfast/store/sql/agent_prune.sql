-- Forget what a pod's earlier boots had loaded and this one has not. $1 pod, $2 boot
DELETE FROM agents WHERE pod = $1 AND boot <> $2
