"""The page of `ros_nodes.dashboard`, without ROS: what is shown, who may see it, and the HTTP server.

- `motion_trail`: predicted against executed motion of joints and tools.
- `camera_pictures`: newest pictures of cameras as JPEG.
- `status_board`: all that the page shows, as one JSON document.
- `access`: which requests are answered.
- `status_server`: the HTTP server; `page/` is what it serves.
"""
