// The search is a worker, and browsers start none from file://. There, a hidden frame runs its script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.title = "search"
      frame.srcdoc = "<!doctype html>"
      this.frame = new Promise((ready) => {
        frame.onload = () => {
          frame.onload = null
          const inside = frame.contentWindow
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
          const element = frame.contentDocument.createElement("script")
          element.src = script
          element.onload = () => ready(inside)
          frame.contentDocument.head.append(element)
        }
      })
      document.body.append(frame)
    }

    postMessage(data) {
      this.frame.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
    }
  }
}
