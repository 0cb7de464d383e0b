# How long lme4 takes for the crossed designs of `lme4.rs`, whose rows it is given.
# usage: Rscript lme4.R ROWS.csv
suppressMessages(library(lme4))
rows <- read.csv(commandArgs(trailingOnly = TRUE)[1])
for (name in c("a", "b", "c")) rows[[name]] <- factor(rows[[name]])
for (formula in c("y ~ 1 + (1|a) + (1|b)", "y ~ 1 + (1|a) + (1|b) + (1|c)")) {
  seconds <- system.time(fit <- suppressWarnings(lmer(as.formula(formula), rows, REML = TRUE)))
  cat(seconds[["elapsed"]], seconds[["user.self"]] + seconds[["sys.self"]], sprintf("%.6f", REMLcrit(fit)), "\n")
}
cat(as.character(packageVersion("lme4")), "\n")
