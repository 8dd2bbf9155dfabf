-- All shards of a commit together: what `cov-agent merge` makes of the same files, row by row.
-- Counts add up; a line is executable if it is in any shard. A shard that was uploaded twice counts once.
-- Needs a table or view `coverage` with the rows of the shards.
WITH shards AS (
    SELECT DISTINCT path, line, context, count, exact, commit, shard, run FROM coverage
),
summed AS (
    SELECT commit, path, line, context, SUM(count) AS total, MIN(CASE WHEN exact THEN 1 ELSE 0 END) AS exact
    FROM shards
    GROUP BY commit, path, line, context
),
-- A line without executions has one row, in the default context, and only if no other row has it.
marked AS (
    SELECT *, MAX(CASE WHEN total > 0 OR exact = 0 THEN 1 ELSE 0 END) OVER (PARTITION BY commit, path, line) AS executed
    FROM summed
)
SELECT
    commit,
    path,
    line,
    context,
    CAST(LEAST(total, 18446744073709551615) AS DECIMAL(20, 0)) AS count,
    exact = 1 AND total <= 18446744073709551615 AS exact
FROM marked
WHERE executed = 0 OR total > 0 OR exact = 0
ORDER BY commit, path, line, context;
