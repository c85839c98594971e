//! Coarse deadlines without a timer each: one sweeper a worker looks at every slot ten times a second. (to be written)
