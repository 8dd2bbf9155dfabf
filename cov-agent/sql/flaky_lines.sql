-- Lines that some runs of the same shard of the same commit executed and others did not.
-- Needs a table or view `coverage` with the rows of several runs of each shard.
WITH runs AS (
    SELECT commit, shard, COUNT(DISTINCT run) AS runs FROM coverage GROUP BY commit, shard
),
hits AS (
    SELECT commit, shard, path, line, COUNT(DISTINCT CASE WHEN count > 0 THEN run END) AS executed
    FROM coverage
    GROUP BY commit, shard, path, line
)
SELECT hits.commit, hits.shard, hits.path, hits.line, hits.executed, runs.runs
FROM hits
JOIN runs ON runs.commit = hits.commit AND runs.shard = hits.shard
WHERE hits.executed > 0 AND hits.executed < runs.runs
ORDER BY hits.commit, hits.shard, hits.path, hits.line;
