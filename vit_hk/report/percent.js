"use strict";
// Shares as numbers in %: with one decimal, and more below 1 %, since of many patches each has little.
function percentNumber(share) {
  const value = 100 * share;
  if (value < 0.0005 || value >= 0.95) return value.toFixed(1);
  return value.toFixed(value >= 0.095 ? 2 : 3);
}

const percent = (share) => `${percentNumber(share)} %`;
