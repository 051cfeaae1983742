// Passes a dropped file from one view to the next.

let waiting = null;
export function giveFile(file) { waiting = file; }
export function takeFile() {
  const file = waiting;
  waiting = null;
  return file;
}
